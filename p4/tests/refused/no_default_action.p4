#include <core.p4>
control C(inout bit<8> a) {
    table t {
        key = { a : exact; }
        actions = { NoAction; }
    }
    apply { t.apply(); }
}
