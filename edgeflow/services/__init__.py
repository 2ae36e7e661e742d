"""What flows may ask of the world outside: MQTT publish and HTTP, carried out by the shell."""
