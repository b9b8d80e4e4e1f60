//! A checked program: names are resolved, types agree, constants are folded. What the interpreter runs.

mod code;

pub use code::{
    Argument, Call, Callee, Expression, ExpressionKind, Next, PacketMethod, Place, State, Statement,
};

use crate::value::Value;

/// A type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Type {
    /// `bool`
    Boolean,
    /// `bit<N>`
    Bits(u32),
    /// `varbit<N>`
    Varbit(u32),
    /// A constant without a width.
    Integer,
    /// Text in quotes.
    Text,
    /// `error`
    Error,
    /// An enum, by its place in [`Program::enums`].
    Enum(usize),
    /// A header or a struct, by its place in [`Program::structures`].
    Structure(usize),
    /// A list of values.
    Tuple(Vec<Type>),
    /// An extern object, by its place in [`Program::externs`].
    Extern(usize),
    /// A type parameter.
    Parameter(String),
    /// Nothing.
    Void,
}

/// A header or a struct.
#[derive(Clone, Debug)]
pub struct Structure {
    /// Its name.
    pub name: String,
    /// Whether it is a header, which may be invalid.
    pub is_header: bool,
    /// Its fields in order.
    pub fields: Vec<(String, Type)>,
}

/// An enum.
#[derive(Clone, Debug)]
pub struct Enum {
    /// Its name.
    pub name: String,
    /// The width of its numbers, when it has them.
    pub width: Option<u32>,
    /// Its members, with their numbers when it has them.
    pub members: Vec<(String, Value)>,
}

/// A declared extern object type.
#[derive(Clone, Debug)]
pub struct ExternType {
    /// Its name.
    pub name: String,
    /// Its methods and constructors.
    pub methods: Vec<Signature>,
}

/// The parameters of a function or method.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// Its type parameters.
    pub type_parameters: Vec<String>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// What it returns; nothing for a constructor.
    pub returns: Option<Type>,
}

/// A parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Which way its value goes.
    pub direction: crate::syntax::ast::Direction,
}

/// Everything of a program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Headers and structs.
    pub structures: Vec<Structure>,
    /// Enums.
    pub enums: Vec<Enum>,
    /// Members of `error`, in order.
    pub errors: Vec<String>,
    /// Extern object types.
    pub externs: Vec<ExternType>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Parsers and controls.
    pub blocks: Vec<BlockDefinition>,
    /// Extern objects outside of any block.
    pub instances: Vec<Instance>,
    /// The package, and its blocks by their place in `blocks`.
    pub main: Option<Main>,
}

/// The instance `main`.
#[derive(Clone, Debug)]
pub struct Main {
    /// The package's name.
    pub package: String,
    /// Its blocks.
    pub blocks: Vec<usize>,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its parameters, in the first slots.
    pub parameters: Vec<Parameter>,
    /// What it returns.
    pub returns: Type,
    /// What the slots hold at first.
    pub slots: Vec<Value>,
    /// What it does.
    pub body: Vec<Statement>,
}

/// A parser or a control. Parameters, variables and the parameters of its actions each have a slot of its frame.
#[derive(Clone, Debug)]
pub struct BlockDefinition {
    /// Its name.
    pub name: String,
    /// Its parameters, in the first slots.
    pub parameters: Vec<Parameter>,
    /// What the slots hold at first.
    pub slots: Vec<Value>,
    /// What its variables begin with.
    pub prologue: Vec<Statement>,
    /// Its extern objects and the blocks it calls.
    pub instances: Vec<Instance>,
    /// Its actions.
    pub actions: Vec<Action>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// States, or statements.
    pub body: Body,
}

/// What a block does.
#[derive(Clone, Debug)]
pub enum Body {
    /// A parser's states.
    Parser(Vec<State>),
    /// A control's statements.
    Control(Vec<Statement>),
}

/// An object made when the program is loaded.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// What it is.
    pub of: InstanceOf,
}

/// What can be instantiated.
#[derive(Clone, Debug)]
pub enum InstanceOf {
    /// An extern object, with its constructor's arguments.
    Extern(usize, Vec<Value>),
    /// A block.
    Block(usize),
}

/// An action.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// Its parameters and their slots.
    pub parameters: Vec<(Parameter, usize)>,
    /// What it does.
    pub body: Vec<Statement>,
}

/// How a key is matched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MatchKind {
    /// The value.
    Exact,
    /// Value and mask.
    Ternary,
    /// Value and prefix length; the longest wins.
    LongestPrefix,
    /// The value, or anything.
    Optional,
}

impl MatchKind {
    /// Its name in P4.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Ternary => "ternary",
            Self::LongestPrefix => "lpm",
            Self::Optional => "optional",
        }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: Vec<Key>,
    /// Its actions.
    pub actions: Vec<TableAction>,
    /// The action of a miss, and its arguments.
    pub default_action: (usize, Vec<Value>),
    /// Whether the control plane may set another.
    pub default_is_constant: bool,
    /// Entries it holds.
    pub size: Option<u32>,
    /// Entries of the program itself; then the control plane adds none.
    pub entries: Option<Vec<Entry>>,
    /// The NIC's group, of a table that lives there.
    pub nic_group: Option<u32>,
}

impl Table {
    /// Whether priorities choose between entries that match: where ternary or optional keys overlap.
    #[must_use]
    pub fn has_priorities(&self) -> bool {
        self.keys.iter().any(|key| matches!(key.kind, MatchKind::Ternary | MatchKind::Optional))
    }
}

/// A key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name: that of `@name`, or the text of the expression.
    pub name: String,
    /// What is matched.
    pub expression: Expression,
    /// Its width in bits; a boolean has 1.
    pub width: u32,
    /// How.
    pub kind: MatchKind,
    /// `@where_matchable`: a NIC that cannot match it leaves it out.
    pub where_matchable: bool,
}

/// An action in a table's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableAction {
    /// Which of the block's.
    pub action: usize,
    /// Where it may stand.
    pub scope: ActionScope,
}

/// Where a table may use an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionScope {
    /// Anywhere.
    Anywhere,
    /// `@tableonly`: in entries.
    Entries,
    /// `@defaultonly`: on a miss.
    Default,
}

/// An entry of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// One a key.
    pub sets: Vec<Set>,
    /// Of several entries that match, that with the largest wins.
    pub priority: u32,
    /// Which of the block's actions.
    pub action: usize,
    /// Its arguments.
    pub arguments: Vec<Value>,
}

/// Values that match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Set {
    /// All.
    Any,
    /// One.
    Value(Value),
    /// Those that agree with the first where the second has ones.
    Mask(crate::bits::Bits, crate::bits::Bits),
    /// From the first to the second.
    Range(crate::bits::Bits, crate::bits::Bits),
}

impl Program {
    /// A type as written.
    #[must_use]
    pub fn show_type(&self, ty: &Type) -> String {
        match ty {
            Type::Boolean => "bool".into(),
            Type::Bits(width) => format!("bit<{width}>"),
            Type::Varbit(width) => format!("varbit<{width}>"),
            Type::Integer => "int".into(),
            Type::Text => "string".into(),
            Type::Error => "error".into(),
            Type::Void => "void".into(),
            Type::Enum(id) => self.enums[*id].name.clone(),
            Type::Structure(id) => self.structures[*id].name.clone(),
            Type::Extern(id) => self.externs[*id].name.clone(),
            Type::Parameter(name) => name.clone(),
            Type::Tuple(types) => {
                let types: Vec<_> = types.iter().map(|ty| self.show_type(ty)).collect();
                format!("tuple<{}>", types.join(", "))
            }
        }
    }

    /// The value that a variable of a type has before anything is assigned: zeros, and invalid headers.
    #[must_use]
    pub fn zero(&self, ty: &Type) -> Value {
        match ty {
            Type::Boolean => Value::Boolean(false),
            Type::Bits(width) => Value::bits(*width, 0_u8),
            Type::Varbit(_) => Value::Varbit(Vec::new()),
            Type::Error => Value::Member(0),
            Type::Enum(id) => match self.enums[*id].width {
                Some(width) => Value::bits(width, 0_u8),
                None => Value::Member(0),
            },
            Type::Structure(id) => {
                let structure = &self.structures[*id];
                let fields = structure.fields.iter().map(|(_, ty)| self.zero(ty)).collect();
                if structure.is_header {
                    Value::Header { valid: false, fields }
                } else {
                    Value::List(fields)
                }
            }
            Type::Tuple(types) => Value::List(types.iter().map(|ty| self.zero(ty)).collect()),
            Type::Integer | Type::Text | Type::Extern(_) | Type::Parameter(_) | Type::Void => {
                Value::Nothing
            }
        }
    }

    /// The width of a type in a key: of numbers, booleans, errors and enums.
    #[must_use]
    pub fn key_width(&self, ty: &Type) -> Option<u32> {
        match ty {
            Type::Boolean => Some(1),
            Type::Bits(width) => Some(*width),
            Type::Enum(id) => Some(self.enums[*id].width.unwrap_or(32)),
            Type::Error => Some(32),
            _ => None,
        }
    }

    /// An enum by its name.
    #[must_use]
    pub fn enumeration(&self, name: &str) -> Option<&Enum> {
        self.enums.iter().find(|e| e.name == name)
    }

    /// A structure by its name, with its place.
    #[must_use]
    pub fn structure(&self, name: &str) -> Option<(usize, &Structure)> {
        self.structures.iter().enumerate().find(|(_, s)| s.name == name)
    }
}

impl Program {
    /// A value as a reader wants to see it: members of enums and errors by name.
    #[must_use]
    pub fn show_value(&self, ty: &Type, value: &Value) -> String {
        match (ty, value) {
            (Type::Enum(id), value) => {
                let members = &self.enums[*id].members;
                let found = match value {
                    Value::Member(member) => members.get(*member),
                    _ => members.iter().find(|(_, known)| known == value),
                };
                found.map_or_else(|| value.to_string(), |(name, _)| name.clone())
            }
            (Type::Error, Value::Member(member)) => {
                self.errors.get(*member).cloned().unwrap_or_else(|| value.to_string())
            }
            _ => value.to_string(),
        }
    }
}
