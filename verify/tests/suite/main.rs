//! Tables as the compiler makes them are proven; tables that somebody has touched are not, and the packet that shows it does
//! what it is said to do in the eswitch model.

mod clean;
mod mutant;
mod mutation;
mod probe;
mod rig;
mod switch;
