header ethernet_t { bit<48> source; }
struct headers_t { ethernt_t ethernet; }
