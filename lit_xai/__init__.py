"""Train image classifiers whose explanations are robust, and prove it."""
