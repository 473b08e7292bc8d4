"""Generators → images."""
