"""What this system adds to the command line: each file here is a command of its name."""
