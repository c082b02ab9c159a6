// The public face of @heptad/mesh/events.

export {};
