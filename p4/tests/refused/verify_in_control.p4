#include <core.p4>
control C(in bit<8> a) {
    apply { verify(a == 0, error.NoMatch); }
}
