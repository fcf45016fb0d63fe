"""Attack the explanations of checkpoints and compare them.

python evaluate.py -c configs/evaluate/quick.yaml --checkpoints a.ckpt b.ckpt
"""

from lit_xai.cli import evaluate_cli

if __name__ == "__main__":
    evaluate_cli()
