"""What is measured on a GPU, in at most six minutes: `make gpu`."""
