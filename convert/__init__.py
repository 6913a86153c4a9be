"""From a subject's PyTorch files to a converted subject, and from nothing to a synthetic one."""
