"""The whole loop on real data, to be watched: traffic changes, labels come back, a retraining fires, and a better version answers."""
