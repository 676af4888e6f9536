"""Making submissions, and finding what is wrong with them."""
