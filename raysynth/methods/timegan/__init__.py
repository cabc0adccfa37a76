"""TimeGAN for sequences (Yoon, Jarrett and van der Schaar 2019), and its form under a budget."""
