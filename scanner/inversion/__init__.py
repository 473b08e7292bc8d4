"""Backwards: from an image to the latent that makes it, from features to the image that they came from."""
