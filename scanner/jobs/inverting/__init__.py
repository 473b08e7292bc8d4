"""Images → latents, features → images."""
