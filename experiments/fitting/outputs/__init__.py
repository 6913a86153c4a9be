"""What a fit leaves: the subject's folder, its accuracy, PyTorch files and the report."""
