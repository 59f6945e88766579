"""Jobs on a Kubernetes cluster, with or without add-ons."""
