"""Many syntheses from one file: axes of settings, trials in chunks, resumed and shared among workers."""
