"""TimeGAN for sequences."""
