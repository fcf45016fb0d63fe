"""Train, validate or test a classifier.

python train.py fit --config configs/experiments/embedded_natural.yaml
"""

from lit_xai.cli import train_cli

if __name__ == "__main__":
    train_cli()
