control Main<M>(inout M meta);
package Small<M>(Main<M> main_control);
struct meta_t { bit<8> a; }
control C(in meta_t meta) { apply { } }
Small(C()) main;
