"""The release of gradients: recording a forward pass, clipping by example, one noised sum."""
