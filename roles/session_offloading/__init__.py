"""Session offloading between edge, cloudlet and cloud: a stateful function follows its user up and down a tree."""
