"""What the front end and the service cost beside the model, measured in one run: `python -m loadtests.overhead`."""
