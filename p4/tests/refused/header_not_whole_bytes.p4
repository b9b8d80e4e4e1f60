header short_t { bit<4> version; bit<3> flags; }
