"""Inputs that experiments share: stimuli, and subjects' responses to them, kept in a folder."""
