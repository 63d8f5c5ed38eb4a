"""Pretraining: recipes, the loop, checkpoints and the run directory."""
