"""Networks, and the softplus twin that attacks differentiate."""
