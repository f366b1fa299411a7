"""What runs inside the containers of actions; standard library only."""
