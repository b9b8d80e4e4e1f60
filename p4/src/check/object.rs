//! Parsers, controls and their actions.

use super::body::{BodyChecker, Context};
use super::scope::{Scope, Symbol};
use super::{Checker, no_annotations};
use crate::diagnostic::Problem;
use crate::program::{
    Action, Body, Expression, Instance, InstanceOf, Next, Parameter, Set, State, Type,
};
use crate::syntax::ast::{
    self, Declaration, DeclarationKind as K, Direction, ExpressionKind as E, Name, Transition,
    TypeExpression, TypeKind,
};

impl Checker {
    /// A parser.
    pub fn parser(&mut self, written: &ast::Parser) -> Result<(), Problem> {
        let mut body = BodyChecker::block_definition(
            self,
            &written.name,
            &written.parameters,
            Context::Parser,
        )?;
        for declaration in &written.locals {
            body.local(declaration)?;
        }
        let mut names: Vec<&str> = Vec::new();
        for state in &written.states {
            let name = state.name.text.as_str();
            let local = body.scopes.iter().any(|scope| scope.get(name).is_some());
            if local || names.contains(&name) || matches!(name, "accept" | "reject") {
                return Err(Problem::new(
                    state.name.span,
                    format!("the name `{name}` is taken already"),
                    "again",
                ));
            }
            names.push(name);
            body.declare(&state.name, Symbol::State)?;
        }
        let start = names.iter().position(|name| *name == "start").ok_or_else(|| {
            Problem::new(
                written.name.span,
                "the parser has no state `start`",
                "where does it begin?",
            )
        })?;
        // The interpreter begins with the first.
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.swap(0, start);
        let names: Vec<&str> = order.iter().map(|n| names[*n]).collect();
        let states: Vec<State> = order
            .iter()
            .map(|n| body.state(&written.states[*n], &names))
            .collect::<Result<_, _>>()?;
        if !ends(&states) {
            return Err(Problem::new(
                written.name.span,
                "the parser has no end",
                "never comes to `accept` or `reject`",
            ));
        }
        body.definition.body = Body::Parser(states);
        let definition = body.definition;
        self.globals.declare(&written.name, Symbol::Block(self.program.blocks.len()))?;
        self.program.blocks.push(definition);
        Ok(())
    }

    /// A control.
    pub fn control(&mut self, written: &ast::Control) -> Result<(), Problem> {
        let mut body = BodyChecker::block_definition(
            self,
            &written.name,
            &written.parameters,
            Context::Control,
        )?;
        for declaration in &written.locals {
            body.local(declaration)?;
        }
        let statements = body.block(&written.apply)?;
        body.definition.body = Body::Control(statements);
        let definition = body.definition;
        self.globals.declare(&written.name, Symbol::Block(self.program.blocks.len()))?;
        self.program.blocks.push(definition);
        Ok(())
    }
}

/// Whether a way leads from the first state to an end.
fn ends(states: &[State]) -> bool {
    let mut reached = vec![false; states.len()];
    let mut open = vec![0];
    while let Some(state) = open.pop() {
        if std::mem::replace(&mut reached[state], true) {
            continue;
        }
        for (_, next) in &states[state].cases {
            match next {
                Next::State(next) => open.push(*next),
                Next::Accept | Next::Reject => return true,
            }
        }
        let catches = |sets: &[Set]| sets.iter().all(|set| matches!(set, Set::Any));
        if !states[state].cases.iter().any(|(sets, _)| catches(sets)) {
            return true;
        }
    }
    false
}

impl BodyChecker<'_> {
    /// A declaration of a parser or control.
    fn local(&mut self, declaration: &Declaration) -> Result<(), Problem> {
        if let K::Table(table) = &declaration.kind {
            return self.table(table, &declaration.annotations);
        }
        no_annotations(&declaration.annotations)?;
        match &declaration.kind {
            K::Constant(ty, name, value) => self.local_constant(ty, name, value),
            K::Variable(ty, name, value) => {
                let first = self.variable(ty, name, value.as_ref())?;
                self.definition.prologue.push(first);
                Ok(())
            }
            K::Instance(ty, arguments, name) => self.instance(ty, arguments, name),
            K::Action(action) => {
                let id = self.action(action)?;
                self.declare(&action.name, Symbol::Action(id))
            }
            _ => unreachable!("the parser makes no other declarations in blocks"),
        }
    }

    fn instance(
        &mut self,
        ty: &TypeExpression,
        arguments: &[ast::Expression],
        name: &Name,
    ) -> Result<(), Problem> {
        let id = self.definition.instances.len();
        if let TypeKind::Named(block, _) = &ty.kind
            && let Some(Symbol::Block(block)) = self.checker.globals.get(block)
        {
            let block = *block;
            let calls_parser = matches!(self.checker.program.blocks[block].body, Body::Parser(_));
            if calls_parser != (self.context == Context::Parser) {
                return Err(Problem::new(
                    ty.span,
                    "parsers call parsers, controls call controls",
                    "not here",
                ));
            }
            if let Some(argument) = arguments.first() {
                return Err(Problem::new(
                    argument.span,
                    "blocks are made without arguments",
                    "here",
                ));
            }
            self.definition
                .instances
                .push(Instance { name: name.text.clone(), of: InstanceOf::Block(block) });
        } else {
            let Type::Extern(external) = self.checker.resolve(ty, &[])? else {
                return Err(Problem::new(
                    ty.span,
                    "only externs, parsers and controls are made",
                    "here",
                ));
            };
            let arguments = self.checker.constructor(external, arguments, ty.span)?;
            self.definition.instances.push(Instance {
                name: name.text.clone(),
                of: InstanceOf::Extern(external, arguments),
            });
        }
        self.declare(name, Symbol::Instance(id))
    }

    /// An action; its parameters have slots in the block's frame.
    pub fn action(&mut self, written: &ast::Action) -> Result<usize, Problem> {
        let types = self.checker.parameters(&written.parameters, &[])?;
        self.action_parameters(&types, &written.parameters)?;
        self.scopes.push(Scope::default());
        let outer = std::mem::replace(&mut self.context, Context::Action);
        let mut parameters = Vec::new();
        let mut check = || {
            for (parameter, written) in types.iter().zip(&written.parameters) {
                let slot = self.slot(&parameter.ty);
                let writable = matches!(parameter.direction, Direction::Out | Direction::InOut);
                self.declare_parameter(
                    &written.name,
                    Symbol::Variable { slot, ty: parameter.ty.clone(), writable },
                )?;
                parameters.push((parameter.clone(), slot));
            }
            self.block(&written.body)
        };
        let body = check();
        self.context = outer;
        self.scopes.pop();
        self.definition.actions.push(Action {
            name: written.name.text.clone(),
            parameters,
            body: body?,
        });
        Ok(self.definition.actions.len() - 1)
    }

    /// What the control plane gives is a number or a truth, and comes last.
    fn action_parameters(
        &self,
        types: &[Parameter],
        written: &[ast::Parameter],
    ) -> Result<(), Problem> {
        let mut bare = false;
        for (parameter, written) in types.iter().zip(written) {
            let refused = |message: &str, label: &str| {
                Err(Problem::new(written.name.span, message.to_owned(), label.to_owned()))
            };
            if parameter.direction != Direction::None {
                if bare {
                    return refused("parameters without a direction come last", "comes before");
                }
                continue;
            }
            bare = true;
            if self.checker.field_width(&parameter.ty).is_none() {
                let ty = self.checker.program.show_type(&parameter.ty);
                return refused(
                    &format!("an entry cannot give {ty}"),
                    "bit<N>, bool or an enum of numbers expected",
                );
            }
        }
        Ok(())
    }

    fn state(&mut self, written: &ast::State, names: &[&str]) -> Result<State, Problem> {
        self.scopes.push(Scope::default());
        let mut body = Vec::new();
        for statement in &written.body {
            self.statement(statement, &mut body)?;
        }
        let next = |name: &Name| match name.text.as_str() {
            "accept" => Ok(Next::Accept),
            "reject" => Ok(Next::Reject),
            _ => match names.iter().position(|known| *known == name.text) {
                Some(state) => Ok(Next::State(state)),
                None => Err(Problem::new(
                    name.span,
                    format!("there is no state `{}`", name.text),
                    "not declared",
                )),
            },
        };
        let (keys, cases) = match &written.transition {
            Transition::To(name) => (Vec::new(), vec![(Vec::new(), next(name)?)]),
            Transition::Select(keys, cases) => {
                let keys: Vec<Expression> =
                    keys.iter().map(|key| self.expression(key, None)).collect::<Result<_, _>>()?;
                let cases = cases
                    .iter()
                    .map(|case| Ok((self.sets(&case.sets, &keys)?, next(&case.state)?)))
                    .collect::<Result<_, Problem>>()?;
                (keys, cases)
            }
        };
        self.scopes.pop();
        Ok(State { name: written.name.text.clone(), body, keys, cases })
    }

    /// One set a key.
    pub fn sets(
        &mut self,
        sets: &[ast::Expression],
        keys: &[Expression],
    ) -> Result<Vec<Set>, Problem> {
        if let [ast::Expression { kind: E::Any, .. }] = sets {
            return Ok(vec![Set::Any; keys.len()]);
        }
        if sets.len() != keys.len() {
            let span = sets.first().map_or(keys[0].span, |set| set.span);
            return Err(Problem::new(
                span,
                format!("{} sets expected, one a key", keys.len()),
                format!("{} given", sets.len()),
            ));
        }
        sets.iter().zip(keys).map(|(set, key)| self.set(set, &key.ty)).collect()
    }

    fn set(&mut self, set: &ast::Expression, ty: &Type) -> Result<Set, Problem> {
        let number = |value: &ast::Expression, body: &mut Self| match ty {
            Type::Bits(_) => Ok(body.checker.constant(value, Some(ty))?.0.as_bits()),
            _ => Err(Problem::new(value.span, "masks and ranges are of numbers", "here")),
        };
        Ok(match &set.kind {
            E::Any => Set::Any,
            E::Mask(value, mask) => Set::Mask(number(value, self)?, number(mask, self)?),
            E::Range(low, high) => Set::Range(number(low, self)?, number(high, self)?),
            _ => Set::Value(self.checker.constant(set, Some(ty))?.0),
        })
    }
}
