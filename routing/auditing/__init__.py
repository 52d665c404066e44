"""What is known of judge and labels without bias: estimates, slices, the guarantee, router against random."""
