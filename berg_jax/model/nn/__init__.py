"""The network, from arrays to arrays; it knows no files, subjects or hemispheres."""
