//! A parser or control with its tables and objects; statements.

use super::call::Run;
use super::externs::{Extern, LoadError};
use super::table::TableState;
use super::{Fault, packet::PacketError};
use crate::bits::Bits;
use crate::program::{
    BlockDefinition, Body, Expression, InstanceOf, Next, Place, Program, Set, Statement,
};
use crate::value::Value;

/// A block of the program, made once when the program is loaded.
pub struct BlockState<'p> {
    pub definition: &'p BlockDefinition,
    pub tables: Vec<TableState<'p>>,
    pub instances: Vec<InstanceState<'p>>,
}

/// An object of a block.
pub enum InstanceState<'p> {
    Extern(Extern),
    Block(BlockState<'p>),
}

impl<'p> BlockState<'p> {
    /// A block and all blocks in it; `path` is what its tables' names begin with.
    pub fn new(program: &'p Program, block: usize, path: &str) -> Result<Self, LoadError> {
        let definition = &program.blocks[block];
        let tables = definition
            .tables
            .iter()
            .map(|table| TableState::new(definition, table, format!("{path}.{}", table.name)))
            .collect();
        let instances = definition
            .instances
            .iter()
            .map(|instance| match &instance.of {
                InstanceOf::Extern(id, arguments) => {
                    Extern::new(&program.externs[*id].name, arguments, program)
                        .map(InstanceState::Extern)
                }
                InstanceOf::Block(inner) => {
                    Self::new(program, *inner, &format!("{path}.{}", instance.name))
                        .map(InstanceState::Block)
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { definition, tables, instances })
    }

    /// All tables of the block and of those in it.
    pub fn collect_tables<'a>(&'a mut self, all: &mut Vec<&'a mut TableState<'p>>) {
        all.extend(&mut self.tables);
        for instance in &mut self.instances {
            if let InstanceState::Block(block) = instance {
                block.collect_tables(all);
            }
        }
    }

    /// An extern object of the block, or of those in it.
    pub fn external(&mut self, name: &str) -> Option<&mut Extern> {
        let definition = self.definition;
        self.instances.iter_mut().zip(&definition.instances).find_map(|(state, instance)| {
            match state {
                InstanceState::Extern(found) => (instance.name == name).then_some(found),
                InstanceState::Block(block) => block.external(name),
            }
        })
    }
}

/// What ends a block before its end.
#[derive(Debug)]
pub enum Stop {
    /// `exit`
    Exit,
    /// A parser found an error, by its place in `error`.
    Reject(usize),
    /// The program did what is undefined.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// How statements ended.
pub enum Flow {
    /// At the last.
    Next,
    /// With `return`.
    Return(Value),
}

/// A block and the values of its variables, while it runs.
pub struct Scope<'a, 'p> {
    pub block: &'a mut BlockState<'p>,
    pub frame: Vec<Value>,
}

impl Scope<'_, '_> {
    /// What a place holds, whatever its slice.
    pub fn get(&self, place: &Place) -> Result<&Value, Fault> {
        let mut value = &self.frame[place.slot];
        for field in &place.path {
            value = match value {
                Value::Header { valid: false, .. } => {
                    return Err(Fault::ReadOfInvalidHeader(place.text.clone()));
                }
                Value::Header { fields, .. } | Value::List(fields) => &fields[*field],
                other => unreachable!("checked as a structure, but is {other:?}"),
            };
        }
        Ok(value)
    }

    fn get_mut(&mut self, place: &Place) -> Result<&mut Value, Fault> {
        let mut value = &mut self.frame[place.slot];
        for field in &place.path {
            value = match value {
                Value::Header { valid: false, .. } => {
                    return Err(Fault::WriteToInvalidHeader(place.text.clone()));
                }
                Value::Header { fields, .. } | Value::List(fields) => &mut fields[*field],
                other => unreachable!("checked as a structure, but is {other:?}"),
            };
        }
        Ok(value)
    }

    /// The value of a place.
    pub fn read(&self, place: &Place) -> Result<Value, Fault> {
        let value = self.get(place)?;
        Ok(match place.slice {
            Some((high, low)) => Value::Bits(value.as_bits().slice(high, low)),
            None => value.clone(),
        })
    }

    /// Takes the value out of a place that will be written before it is read again.
    pub fn take(&mut self, place: &Place) -> Result<Value, Fault> {
        if place.slice.is_some() {
            return self.read(place);
        }
        Ok(std::mem::replace(self.get_mut(place)?, Value::Nothing))
    }

    /// Gives a place a value.
    pub fn write(&mut self, place: &Place, new: Value) -> Result<(), Fault> {
        let value = self.get_mut(place)?;
        *value = match place.slice {
            Some((high, low)) => Value::Bits(value.as_bits().with_slice(high, low, new.as_bits())),
            None => new,
        };
        Ok(())
    }

    /// Makes a header valid or not.
    fn set_valid(&mut self, place: &Place, to: bool) -> Result<(), Fault> {
        match self.get_mut(place)? {
            Value::Header { valid, .. } => *valid = to,
            other => unreachable!("checked as a header, but is {other:?}"),
        }
        Ok(())
    }
}

/// How many states a parser may pass: more than any packet has headers.
const STATES: usize = 4096;

impl<'p> Run<'_, 'p> {
    /// Runs a block with these arguments, and returns what its parameters hold at the end.
    pub fn block(
        &mut self,
        block: &mut BlockState<'p>,
        arguments: Vec<Value>,
    ) -> (Vec<Value>, Result<(), Stop>) {
        let definition = block.definition;
        let mut frame = definition.slots.clone();
        let count = arguments.len();
        for (slot, argument) in frame.iter_mut().zip(arguments) {
            *slot = argument;
        }
        let mut scope = Scope { block, frame };
        let result = self.statements(&mut scope, &definition.prologue).and_then(|_| {
            match &definition.body {
                Body::Control(statements) => self.statements(&mut scope, statements).map(|_| ()),
                Body::Parser(_) => self.states(&mut scope),
            }
        });
        scope.frame.truncate(count);
        (scope.frame, result)
    }

    fn states(&mut self, scope: &mut Scope<'_, 'p>) -> Result<(), Stop> {
        let definition = scope.block.definition;
        let Body::Parser(states) = &definition.body else {
            unreachable!("only parsers have states");
        };
        let mut at = 0;
        for _ in 0..STATES {
            let state = &states[at];
            self.record_state(&definition.name, &state.name);
            self.statements(scope, &state.body)?;
            let keys: Vec<Value> =
                state.keys.iter().map(|key| self.evaluate(scope, key)).collect::<Result<_, _>>()?;
            let next = state
                .cases
                .iter()
                .find(|(sets, _)| sets.iter().zip(&keys).all(|(set, key)| contains(set, key)));
            match next {
                Some((_, Next::Accept)) => return Ok(()),
                Some((_, Next::Reject)) => return Err(Stop::Reject(self.error("NoError"))),
                Some((_, Next::State(next))) => at = *next,
                None => return Err(Stop::Reject(self.error("NoMatch"))),
            }
        }
        Err(Stop::Reject(self.error("ParserTimeout")))
    }

    /// The place of an error of the core library.
    pub fn error(&self, name: &str) -> usize {
        self.program.errors.iter().position(|error| error == name).unwrap_or_default()
    }

    /// What a packet that ends too early, or a wrong length, is to the parser.
    pub fn reject(&self, error: PacketError) -> Stop {
        Stop::Reject(self.error(match error {
            PacketError::TooShort => "PacketTooShort",
            PacketError::FieldTooLong => "HeaderTooShort",
            PacketError::NotWholeBytes => "ParserInvalidArgument",
        }))
    }

    /// Statements in order.
    pub fn statements(
        &mut self,
        scope: &mut Scope<'_, 'p>,
        statements: &'p [Statement],
    ) -> Result<Flow, Stop> {
        for statement in statements {
            if let Flow::Return(value) = self.statement(scope, statement)? {
                return Ok(Flow::Return(value));
            }
        }
        Ok(Flow::Next)
    }

    fn statement(
        &mut self,
        scope: &mut Scope<'_, 'p>,
        statement: &'p Statement,
    ) -> Result<Flow, Stop> {
        match statement {
            Statement::Assign(place, value) => {
                let value = self.evaluate(scope, value)?;
                scope.write(place, value)?;
            }
            Statement::SetValid(place, valid) => scope.set_valid(place, *valid)?,
            Statement::Call(call) => {
                self.call(scope, call)?;
            }
            Statement::Apply(table) => {
                self.apply(scope, *table)?;
            }
            Statement::If(condition, yes, no) => {
                let chosen = self.evaluate(scope, condition)?.as_boolean();
                return self.statements(scope, if chosen { yes } else { no });
            }
            Statement::Switch { table, cases, default } => {
                let action = self.apply(scope, *table)?.action;
                let case = cases.iter().find(|(actions, _)| actions.contains(&action));
                return self.statements(scope, case.map_or(default, |(_, body)| body));
            }
            Statement::Return(value) => {
                let value = value.as_ref().map(|value| self.evaluate(scope, value)).transpose()?;
                return Ok(Flow::Return(value.unwrap_or(Value::Nothing)));
            }
            Statement::Exit => return Err(Stop::Exit),
        }
        Ok(Flow::Next)
    }

    /// The value of a key, as tables compare it.
    pub fn key(&mut self, scope: &mut Scope<'_, 'p>, key: &'p Expression) -> Result<Bits, Stop> {
        let value = self.evaluate(scope, key)?;
        Ok(value.as_key().unwrap_or_else(|| unreachable!("checked as a key, but is {value:?}")))
    }
}

/// Whether a value is in a set.
pub fn contains(set: &Set, value: &Value) -> bool {
    match set {
        Set::Any => true,
        Set::Value(wanted) => wanted == value,
        Set::Mask(wanted, mask) => value.as_bits().and(*mask) == wanted.and(*mask),
        Set::Range(low, high) => (*low..=*high).contains(&value.as_bits()),
    }
}
