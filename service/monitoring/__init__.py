"""What is seen of the traffic, and what it means. A front end observes, control judges; neither end may slow or break an answer."""
