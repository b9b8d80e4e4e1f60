header_union address_t { }
