import lightning.pytorch as pl
from lightning.pytorch.demos.boring_classes import BoringModel

from lit_xai.training.progress import EpochLines


def test_a_line_an_epoch(capsys, tmp_path):
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=2,
        limit_val_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[EpochLines()],
    )
    trainer.fit(BoringModel())
    found = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert found == ["Epoch 1/2", "Epoch 2/2"]
