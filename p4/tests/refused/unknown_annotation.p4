#include <core.p4>
control C(inout bit<8> a) {
    @entropy
    table t {
        key = { a : exact; }
        actions = { NoAction; }
        default_action = NoAction();
    }
    apply { t.apply(); }
}
