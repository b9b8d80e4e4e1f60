//! What the blocks of a program do: states, statements, expressions.

use super::{Set, Type};
use crate::diagnostic::Span;
use crate::syntax::ast::{BinaryOperator, UnaryOperator};
use crate::value::Value;

/// A state of a parser.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name.
    pub name: String,
    /// What it does.
    pub body: Vec<Statement>,
    /// What it looks at to choose the next.
    pub keys: Vec<Expression>,
    /// The first whose sets match is next.
    pub cases: Vec<(Vec<Set>, Next)>,
}

/// Where a parser goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// A state.
    State(usize),
    /// The end, all well.
    Accept,
    /// The end, with an error.
    Reject,
}

/// A place that holds a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The slot.
    pub slot: usize,
    /// Fields, from the outside in.
    pub path: Vec<usize>,
    /// Bits of it.
    pub slice: Option<(u32, u32)>,
    /// As written.
    pub text: String,
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expression {
    /// What it is.
    pub kind: ExpressionKind,
    /// Its type.
    pub ty: Type,
    /// Where it is written.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug)]
pub enum ExpressionKind {
    /// A constant.
    Constant(Value),
    /// What a place holds.
    Read(Place),
    /// Bits of a value.
    Slice(Box<Expression>, u32, u32),
    /// An operator with one operand.
    Unary(UnaryOperator, Box<Expression>),
    /// An operator with two.
    Binary(BinaryOperator, Box<Expression>, Box<Expression>),
    /// One of two.
    Conditional(Box<Expression>, Box<Expression>, Box<Expression>),
    /// A number in another type.
    Cast(Box<Expression>),
    /// The values of a struct or tuple.
    List(Vec<Expression>),
    /// A header with these fields.
    Header(Vec<Expression>),
    /// Whether a header is valid.
    IsValid(Place),
    /// Applies a table; whether it hit.
    TableHit(usize),
    /// A call.
    Call(Box<Call>),
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is called.
    pub callee: Callee,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// The types that its type parameters stand for.
    pub types: Vec<Type>,
}

/// What can be called.
#[derive(Clone, Debug)]
pub enum Callee {
    /// A function of the program.
    Function(usize),
    /// A function of the architecture.
    ExternFunction(String),
    /// A method of an extern object of the block.
    Method(usize, String),
    /// A method of an extern object outside of any block.
    GlobalMethod(usize, String),
    /// A method of the packet that is read or written.
    PacketMethod(PacketMethod),
    /// A block that this block has an instance of.
    Block(usize),
    /// One of the block's actions.
    Action(usize),
}

/// Methods of `packet_in` and `packet_out`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketMethod {
    /// `extract`
    Extract,
    /// `lookahead`
    Lookahead,
    /// `advance`
    Advance,
    /// `length`
    Length,
    /// `emit`
    Emit,
}

/// An argument.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A value that goes in.
    In(Expression),
    /// A place whose value comes out.
    Out(Place, Type),
    /// A place whose value goes in and comes out.
    InOut(Place),
    /// The packet, or an extern object: nothing to copy.
    Object,
}

/// A statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `place = value`
    Assign(Place, Expression),
    /// `setValid`, `setInvalid`
    SetValid(Place, bool),
    /// A call.
    Call(Call),
    /// Applies a table.
    Apply(usize),
    /// One or the other.
    If(Expression, Vec<Statement>, Vec<Statement>),
    /// By the action that a table chose; without a matching case the last.
    Switch {
        /// The table that is applied.
        table: usize,
        /// Actions and what to do after them.
        cases: Vec<(Vec<usize>, Vec<Statement>)>,
        /// What to do after all others.
        default: Vec<Statement>,
    },
    /// Leaves the function, action or block.
    Return(Option<Expression>),
    /// Ends the control.
    Exit,
}

impl Statement {
    /// Whether nothing after it is reached.
    #[must_use]
    pub fn returns(&self) -> bool {
        let all = |statements: &[Self]| statements.iter().any(Self::returns);
        match self {
            Self::Return(_) | Self::Exit => true,
            Self::If(_, yes, no) => all(yes) && all(no),
            Self::Switch { cases, default, .. } => {
                all(default) && cases.iter().all(|(_, case)| all(case))
            }
            Self::Assign(..) | Self::SetValid(..) | Self::Call(_) | Self::Apply(_) => false,
        }
    }
}
