//! Calls: functions, actions, blocks, tables, the packet, externs.

use super::block::{BlockState, Flow, InstanceState, Scope, Stop};
use super::event::Event;
use super::externs::{self, Context, Extern};
use super::packet::{PacketIn, PacketOut};
use super::table::Applied;
use super::{Fault, Time};
use crate::program::{Argument, Call, Callee, PacketMethod, Program, Type};
use crate::value::Value;

/// One packet's way through the program.
pub struct Run<'a, 'p> {
    pub program: &'p Program,
    pub now: Time,
    pub globals: &'a mut [Extern],
    pub input: PacketIn<'a>,
    pub output: PacketOut,
    /// What happened, if anyone asked.
    pub events: Option<Vec<Event>>,
}

impl<'p> Run<'_, 'p> {
    fn context(&self) -> Context {
        Context { now: self.now, packet_length: self.input.length() }
    }

    pub(super) fn record(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    pub(super) fn record_state(&mut self, parser: &str, state: &str) {
        self.record(|| Event::State { parser: parser.to_owned(), state: state.to_owned() });
    }

    /// A call; what it returns.
    pub fn call(&mut self, scope: &mut Scope<'_, 'p>, call: &'p Call) -> Result<Value, Stop> {
        if let Callee::PacketMethod(method) = &call.callee {
            return self.packet_method(scope, *method, call);
        }
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            arguments.push(match argument {
                Argument::In(value) => self.evaluate(scope, value)?,
                Argument::Out(_, ty) => self.program.zero(ty),
                Argument::InOut(_) | Argument::Object => Value::Nothing,
            });
        }
        // Last, so that what is evaluated before sees them. What an action sees by itself stays there.
        let shared = matches!(call.callee, Callee::Action(_));
        for (argument, value) in call.arguments.iter().zip(&mut arguments) {
            if let Argument::InOut(place) = argument {
                *value = if shared { scope.read(place)? } else { scope.take(place)? };
            }
        }
        let (arguments, result) = self.callee(scope, &call.callee, arguments);
        if matches!(result, Ok(_) | Err(Stop::Exit | Stop::Reject(_))) {
            for (argument, value) in call.arguments.iter().zip(arguments) {
                if let Argument::Out(place, _) | Argument::InOut(place) = argument {
                    scope.write(place, value)?;
                }
            }
        }
        result
    }

    fn callee(
        &mut self,
        scope: &mut Scope<'_, 'p>,
        callee: &'p Callee,
        mut arguments: Vec<Value>,
    ) -> (Vec<Value>, Result<Value, Stop>) {
        match callee {
            Callee::Function(id) => self.function(scope, *id, arguments),
            Callee::Action(id) => {
                let result = self.action(scope, *id, &arguments);
                let action = &scope.block.definition.actions[*id];
                let values =
                    action.parameters.iter().map(|(_, slot)| scope.frame[*slot].clone()).collect();
                (values, result.map(|()| Value::Nothing))
            }
            Callee::Block(instance) => {
                let InstanceState::Block(block) = &mut scope.block.instances[*instance] else {
                    unreachable!("checked as a block");
                };
                let (values, result) = self.block(block, arguments);
                (values, result.map(|()| Value::Nothing))
            }
            Callee::ExternFunction(name) => {
                if name == "verify" {
                    let result = verify(&arguments);
                    return (arguments, result);
                }
                let result = externs::function(name, &mut arguments, self.input.rest());
                self.finish("", name, arguments, result)
            }
            Callee::Method(instance, method) => {
                let name = &scope.block.definition.instances[*instance].name;
                let context = self.context();
                let InstanceState::Extern(object) = &mut scope.block.instances[*instance] else {
                    unreachable!("checked as an extern");
                };
                let result = object.call(method, &mut arguments, &context).map_err(|reason| {
                    Fault::Extern { object: name.clone(), method: method.clone(), reason }
                });
                self.finish(name, method, arguments, result)
            }
            Callee::GlobalMethod(instance, method) => {
                let name = &self.program.instances[*instance].name;
                let context = self.context();
                let object = &mut self.globals[*instance];
                let result = object.call(method, &mut arguments, &context).map_err(|reason| {
                    Fault::Extern { object: name.clone(), method: method.clone(), reason }
                });
                self.finish(name, method, arguments, result)
            }
            Callee::PacketMethod(_) => unreachable!("handled before"),
        }
    }

    fn finish(
        &mut self,
        object: &str,
        method: &str,
        arguments: Vec<Value>,
        result: Result<Value, Fault>,
    ) -> (Vec<Value>, Result<Value, Stop>) {
        if let Ok(value) = &result {
            self.record_call(object, method, &arguments, value);
        }
        (arguments, result.map_err(Stop::Fault))
    }

    fn record_call(&mut self, object: &str, method: &str, arguments: &[Value], result: &Value) {
        self.record(|| Event::Call {
            object: object.to_owned(),
            method: method.to_owned(),
            arguments: arguments.to_vec(),
            result: result.clone(),
        });
    }

    fn function(
        &mut self,
        scope: &mut Scope<'_, 'p>,
        id: usize,
        arguments: Vec<Value>,
    ) -> (Vec<Value>, Result<Value, Stop>) {
        let function = &self.program.functions[id];
        let mut frame = function.slots.clone();
        let count = arguments.len();
        for (slot, argument) in frame.iter_mut().zip(arguments) {
            *slot = argument;
        }
        let block: &mut BlockState<'p> = scope.block;
        let mut inner = Scope { block, frame };
        let result = self.statements(&mut inner, &function.body).map(|flow| match flow {
            Flow::Return(value) => value,
            Flow::Next => self.program.zero(&function.returns),
        });
        inner.frame.truncate(count);
        (inner.frame, result)
    }

    /// Runs an action of the block with these arguments.
    pub fn action(
        &mut self,
        scope: &mut Scope<'_, 'p>,
        id: usize,
        arguments: &[Value],
    ) -> Result<(), Stop> {
        let action = &scope.block.definition.actions[id];
        for ((_, slot), argument) in action.parameters.iter().zip(arguments) {
            scope.frame[*slot] = argument.clone();
        }
        self.statements(scope, &action.body).map(|_| ())
    }

    /// Applies a table of the block.
    pub fn apply(&mut self, scope: &mut Scope<'_, 'p>, table: usize) -> Result<Applied, Stop> {
        let definition = &scope.block.definition.tables[table];
        let keys = definition
            .keys
            .iter()
            .map(|key| self.key(scope, &key.expression))
            .collect::<Result<Vec<_>, _>>()?;
        let state = &scope.block.tables[table];
        let (applied, arguments) = state.find(&keys);
        self.record(|| {
            let action = &scope.block.definition.actions[applied.action];
            Event::Table {
                path: state.path.clone(),
                keys: definition.keys.iter().map(|key| key.name.clone()).zip(keys).collect(),
                hit: applied.hit,
                action: action.name.clone(),
                arguments: action
                    .parameters
                    .iter()
                    .zip(&arguments)
                    .map(|((parameter, _), value)| (parameter.name.clone(), value.clone()))
                    .collect(),
            }
        });
        self.action(scope, applied.action, &arguments)?;
        Ok(applied)
    }

    fn packet_method(
        &mut self,
        scope: &mut Scope<'_, 'p>,
        method: PacketMethod,
        call: &'p Call,
    ) -> Result<Value, Stop> {
        let number = |run: &mut Self, scope: &mut Scope<'_, 'p>, argument: &'p Argument| {
            let Argument::In(value) = argument else { unreachable!("checked as a number") };
            run.evaluate(scope, value).map(|value| value.as_bits().to_count())
        };
        match method {
            PacketMethod::Length => Ok(Value::bits(32, self.input.length())),
            PacketMethod::Advance => {
                let bits = number(self, scope, &call.arguments[0])?;
                self.input.advance(bits).map_err(|error| self.reject(error))?;
                Ok(Value::Nothing)
            }
            PacketMethod::Lookahead => {
                let ty: &Type = &call.types[0];
                let mut ahead = self.input.clone();
                ahead.read(self.program, ty, 0).map_err(|error| self.reject(error))
            }
            PacketMethod::Extract => {
                let variable = match call.arguments.get(1) {
                    Some(bits) => number(self, scope, bits)?,
                    None => 0,
                };
                let Argument::Out(place, ty) = &call.arguments[0] else {
                    unreachable!("checked as an `out` argument");
                };
                let value = self
                    .input
                    .read(self.program, ty, variable)
                    .map_err(|error| self.reject(error))?;
                self.record(|| Event::Extract { header: place.text.clone(), value: value.clone() });
                scope.write(place, value)?;
                Ok(Value::Nothing)
            }
            PacketMethod::Emit => {
                let Argument::In(value) = &call.arguments[0] else {
                    unreachable!("checked as an `in` argument");
                };
                let value = self.evaluate(scope, value)?;
                self.output.write(&value);
                Ok(Value::Nothing)
            }
        }
    }
}

fn verify(arguments: &[Value]) -> Result<Value, Stop> {
    match arguments {
        [Value::Boolean(true), _] => Ok(Value::Nothing),
        [Value::Boolean(false), Value::Member(error)] => Err(Stop::Reject(*error)),
        _ => unreachable!("checked as (bool, error)"),
    }
}
