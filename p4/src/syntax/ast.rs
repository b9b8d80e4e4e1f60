//! The syntax tree.

use ethnum::U256;

use crate::diagnostic::Span;

/// A name where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// `@name(arguments)`.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// Its name without the `@`.
    pub name: Name,
    /// Its arguments.
    pub arguments: Vec<Expression>,
}

/// A type as written.
#[derive(Clone, Debug)]
pub struct TypeExpression {
    /// What it is.
    pub kind: TypeKind,
    /// Its place.
    pub span: Span,
}

/// The kinds of types.
#[derive(Clone, Debug)]
pub enum TypeKind {
    /// `bool`
    Boolean,
    /// `bit<N>`
    Bits(Box<Expression>),
    /// `varbit<N>`
    Varbit(Box<Expression>),
    /// `int`: a constant of any width.
    Integer,
    /// `error`
    Error,
    /// `string`
    Text,
    /// `void`
    Void,
    /// `tuple<A, B>`
    Tuple(Vec<TypeExpression>),
    /// A declared type, with its type arguments.
    Named(String, Vec<TypeExpression>),
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expression {
    /// What it is.
    pub kind: ExpressionKind,
    /// Its place.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug)]
pub enum ExpressionKind {
    /// `true`, `false`
    Boolean(bool),
    /// A number.
    Integer {
        /// Its value.
        value: U256,
        /// Its width when written as `8w1`.
        width: Option<u32>,
    },
    /// Text in quotes.
    Text(String),
    /// A name; `error` and `this` included.
    Name(String),
    /// `of.name`
    Member(Box<Expression>, Name),
    /// `of[high:low]`
    Slice(Box<Expression>, Box<Expression>, Box<Expression>),
    /// `-a`, `!a`, `~a`
    Unary(UnaryOperator, Box<Expression>),
    /// `a + b`
    Binary(BinaryOperator, Box<Expression>, Box<Expression>),
    /// `a ? b : c`
    Conditional(Box<Expression>, Box<Expression>, Box<Expression>),
    /// `(bit<8>) a`
    Cast(TypeExpression, Box<Expression>),
    /// `function<types>(arguments)`
    Call(Box<Expression>, Vec<TypeExpression>, Vec<Expression>),
    /// `{ a, b }`
    List(Vec<Expression>),
    /// `{ x = a, y = b }`
    Fields(Vec<(Name, Expression)>),
    /// `value &&& mask`, in sets
    Mask(Box<Expression>, Box<Expression>),
    /// `low .. high`, in sets
    Range(Box<Expression>, Box<Expression>),
    /// `default` or `_`, in sets
    Any,
}

/// An operator with one operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnaryOperator {
    /// `!`
    Not,
    /// `~`
    Complement,
    /// `-`
    Negate,
}

/// An operator with two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinaryOperator {
    /// `+`, modulo 2^N
    Add,
    /// `-`, modulo 2^N
    Subtract,
    /// `*`, modulo 2^N
    Multiply,
    /// `/`, constants only
    Divide,
    /// `%`, constants only
    Remainder,
    /// `|+|`
    AddSaturating,
    /// `|-|`
    SubtractSaturating,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    ExclusiveOr,
    /// `++`
    Concatenate,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `&&`
    AndAlso,
    /// `||`
    OrElse,
}

/// Which way a parameter's value goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Written before the name: nothing. Of an action: from the control plane.
    None,
    /// `in`
    In,
    /// `out`
    Out,
    /// `inout`
    InOut,
}

impl std::fmt::Display for Direction {
    /// As written, with the blank behind it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::In => "in ",
            Self::Out => "out ",
            Self::InOut => "inout ",
        })
    }
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its direction.
    pub direction: Direction,
    /// Its type.
    pub ty: TypeExpression,
    /// Its name.
    pub name: Name,
}

/// A field of a header or a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its type.
    pub ty: TypeExpression,
    /// Its name.
    pub name: Name,
}

/// A function, or a method of an extern, without its body.
#[derive(Clone, Debug)]
pub struct Prototype {
    /// What it returns; nothing for a constructor.
    pub returns: Option<TypeExpression>,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_parameters: Vec<Name>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
}

/// A declaration and its annotations.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// What is declared.
    pub kind: DeclarationKind,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
}

/// What can be declared.
#[derive(Clone, Debug)]
pub enum DeclarationKind {
    /// `const T name = value;`
    Constant(TypeExpression, Name, Expression),
    /// `T name = value;` or `T name;`
    Variable(TypeExpression, Name, Option<Expression>),
    /// `T(arguments) name;`
    Instance(TypeExpression, Vec<Expression>, Name),
    /// `typedef T name;`
    Typedef(TypeExpression, Name),
    /// `error { ... }`
    Errors(Vec<Name>),
    /// `match_kind { ... }`
    MatchKinds(Vec<Name>),
    /// `enum name { ... }`, `enum bit<8> name { a = 1 }`
    Enum(Name, Option<TypeExpression>, Vec<(Name, Option<Expression>)>),
    /// `header name { ... }`
    Header(Name, Vec<Field>),
    /// `struct name { ... }`
    Struct(Name, Vec<Field>),
    /// `extern name { methods }`
    ExternObject(Name, Vec<Prototype>),
    /// `extern T name(...);`
    ExternFunction(Prototype),
    /// `parser name<T>(...);`
    ParserType(Prototype),
    /// `control name<T>(...);`
    ControlType(Prototype),
    /// `package name<T>(...);`
    Package(Prototype),
    /// `parser name(...) { ... }`
    Parser(Parser),
    /// `control name(...) { ... }`
    Control(Control),
    /// `action name(...) { ... }`
    Action(Action),
    /// `table name { ... }`
    Table(Table),
    /// `T name(...) { ... }`
    Function(Prototype, Block),
}

/// A parser.
#[derive(Clone, Debug)]
pub struct Parser {
    /// Its name.
    pub name: Name,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Constants, variables and instances.
    pub locals: Vec<Declaration>,
    /// Its states.
    pub states: Vec<State>,
}

/// A state of a parser.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub body: Vec<Statement>,
    /// Where it goes.
    pub transition: Transition,
}

/// How a state ends.
#[derive(Clone, Debug)]
pub enum Transition {
    /// `transition name;`
    To(Name),
    /// `transition select(keys) { set: name; }`
    Select(Vec<Expression>, Vec<SelectCase>),
}

/// One line of a `select`.
#[derive(Clone, Debug)]
pub struct SelectCase {
    /// One set a key, or a single `default` for all.
    pub sets: Vec<Expression>,
    /// The next state.
    pub state: Name,
}

/// A control.
#[derive(Clone, Debug)]
pub struct Control {
    /// Its name.
    pub name: Name,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Everything declared in it.
    pub locals: Vec<Declaration>,
    /// What it does.
    pub apply: Block,
}

/// An action.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its name.
    pub name: Name,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// What it does.
    pub body: Block,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: Name,
    /// Its properties.
    pub properties: Vec<Property>,
}

/// A property of a table.
#[derive(Clone, Debug)]
pub enum Property {
    /// `key = { ... }`
    Key(Vec<Key>),
    /// `actions = { ... }`
    Actions(Vec<ActionReference>),
    /// `const entries = { ... }`
    Entries(Vec<Entry>),
    /// `name = value;`
    Value {
        /// Whether `const` stands before it.
        constant: bool,
        /// Its name.
        name: Name,
        /// Its value.
        value: Expression,
    },
}

/// A key of a table.
#[derive(Clone, Debug)]
pub struct Key {
    /// What is matched.
    pub expression: Expression,
    /// How.
    pub match_kind: Name,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
}

/// An action in a table's list.
#[derive(Clone, Debug)]
pub struct ActionReference {
    /// Its name.
    pub name: Name,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
}

/// An entry that is part of the program.
#[derive(Clone, Debug)]
pub struct Entry {
    /// One set a key.
    pub sets: Vec<Expression>,
    /// The action and its arguments.
    pub action: Expression,
}

/// Statements in braces.
#[derive(Clone, Debug)]
pub struct Block {
    /// The statements.
    pub statements: Vec<Statement>,
    /// Its place.
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `a = b;`
    Assign(Expression, Expression),
    /// `f(a);`
    Call(Expression),
    /// `if (a) b else c`
    If(Expression, Box<Statement>, Option<Box<Statement>>),
    /// `switch (t.apply().action_run) { ... }`
    Switch(Expression, Vec<SwitchCase>),
    /// `{ ... }`
    Block(Block),
    /// `return;`, `return a;`
    Return(Option<Expression>, Span),
    /// `exit;`
    Exit(Span),
    /// `;`
    Empty,
    /// A constant, a variable or an instance.
    Declaration(Box<Declaration>),
}

/// One case of a `switch`; without a block it falls through.
#[derive(Clone, Debug)]
pub struct SwitchCase {
    /// The action's name; none for `default`.
    pub label: Option<Name>,
    /// What to do.
    pub body: Option<Block>,
    /// Its place.
    pub span: Span,
}
