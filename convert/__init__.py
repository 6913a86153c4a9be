"""Conversion of subjects' PyTorch files, synthetic subjects, and the model in PyTorch for comparison."""
