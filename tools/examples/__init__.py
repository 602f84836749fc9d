"""Small programs that show how something is done; each is run by a test."""
