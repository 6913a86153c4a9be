"""The network: arrays in, arrays out; it knows no file, no subject and no hemisphere."""
