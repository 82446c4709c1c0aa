"""The local stand-in for a cloud: router, gateway, initialisation of the stores."""
