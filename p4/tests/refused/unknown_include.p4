#include <tna.p4>
