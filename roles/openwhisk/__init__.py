"""An OpenWhisk-compatible server: actions arrive over HTTP, run in containers, and leave activations."""
