header label_t { bit<8> value; }
struct headers_t { label_t[4] labels; }
