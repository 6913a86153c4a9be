"""What a fit starts from: splits, measured responses, the donor's features and tables, ROIs."""
