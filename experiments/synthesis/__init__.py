"""Stimuli from gradients: images that drive, separate or match what regions do."""
