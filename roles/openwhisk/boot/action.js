// Answers the requests of node_action.py: one JSON object a line on standard input, replies on the file descriptor that
// the last argument names. See python_action.py for what is asked.
'use strict'

const fs = require('fs')
const path = require('path')
const zlib = require('zlib')
const Module = require('module')
const readline = require('readline')

const back = Number(process.argv[process.argv.length - 1])
const keep = { exit: process.exit.bind(process) }
let main = null
let id = null

function tell (message) {
  const data = Buffer.from(JSON.stringify(message) + '\n')
  for (let at = 0; at < data.length;) at += fs.writeSync(back, data, at)
}

// What an action writes, line by line.
function lines (name) {
  let rest = ''
  const write = (chunk, encoding, done) => {
    const parts = (rest + (typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString())).split('\n')
    rest = parts.pop()
    for (const line of parts) tell({ log: [name, line] })
    const then = typeof encoding === 'function' ? encoding : done
    if (then) process.nextTick(then)
    return true
  }
  write.end = () => { if (rest) { tell({ log: [name, rest] }); rest = '' } }
  return write
}
const out = process.stdout.write = lines('stdout')
const err = process.stderr.write = lines('stderr')

// The files of a zip, by name: enough of the format for what packagers write.
function unzip (data) {
  const files = new Map()
  let end = data.length - 22
  while (end >= 0 && data.readUInt32LE(end) !== 0x06054b50) end--
  if (end < 0) throw new Error('the code is no zip file')
  let at = data.readUInt32LE(end + 16)
  for (let left = data.readUInt16LE(end + 10); left > 0; left--) {
    const method = data.readUInt16LE(at + 10)
    const size = data.readUInt32LE(at + 20)
    const nameLength = data.readUInt16LE(at + 28)
    const local = data.readUInt32LE(at + 42)
    const name = data.toString('utf8', at + 46, at + 46 + nameLength)
    const begin = local + 30 + data.readUInt16LE(local + 26) + data.readUInt16LE(local + 28)
    const raw = data.subarray(begin, begin + size)
    if (!name.endsWith('/')) files.set(path.posix.normalize(name), method === 0 ? raw : zlib.inflateRawSync(raw))
    at += 46 + nameLength + data.readUInt16LE(at + 30) + data.readUInt16LE(at + 32)
  }
  return files
}

// Modules out of a zip; whatever is not in it is the engine's own.
function zipped (files) {
  const loaded = new Map()
  const exists = (name) => {
    for (const each of [name, name + '.js', name + '.json', name + '/index.js']) if (files.has(each)) return each
    const own = files.get(name + '/package.json')
    return own ? exists(path.posix.join(name, JSON.parse(own).main || 'index.js')) : null
  }
  const find = (from, name) => {
    if (/^\.{1,2}(\/|$)/.test(name)) return exists(path.posix.join(path.posix.dirname(from), name))
    for (let folder = path.posix.dirname(from); ; folder = path.posix.dirname(folder)) {
      const found = exists(path.posix.join(folder, 'node_modules', name))
      if (found || folder === '.') return found
    }
  }
  const load = (file) => {
    if (loaded.has(file)) return loaded.get(file).exports
    const module = { exports: {}, id: file, filename: file }
    loaded.set(file, module)
    const text = files.get(file).toString()
    if (file.endsWith('.json')) return (module.exports = JSON.parse(text))
    const inner = (name) => { const found = find(file, name); return found ? load(found) : require(name) }
    new Function('exports', 'require', 'module', '__filename', '__dirname', text)(
      module.exports, inner, module, file, path.posix.dirname(file))
    return module.exports
  }
  const own = files.get('package.json')
  const first = exists((own && JSON.parse(own).main) || 'index.js')
  if (!first) throw new Error('the zip file has no index.js, and no package.json that names another')
  return load(first)
}

function init (request) {
  let found
  if (request.binary) {
    found = zipped(unzip(Buffer.from(request.code, 'base64')))[request.main]
  } else {
    const module = new Module('action')
    module.paths = []
    module._compile(`${request.code}
;try { module.__found = ${request.main} } catch (error) { module.__found = module.exports.${request.main} }`, 'action.js')
    found = module.__found
  }
  if (typeof found !== 'function') throw new Error(`the code defines no function '${request.main}'`)
  main = found
  id = request.id
}

async function answer (request) {
  if (request.do === 'init') {
    try { init(request) } catch (error) { console.error(error); return { error: String(error) } }
    return {}
  }
  if (main === null || id !== request.id) return { lost: true }
  Object.assign(process.env, request.env)
  let value
  try { value = main(request.args) } catch (error) {
    console.error(error)
    return { error: `An error has occurred: ${error}` }
  }
  try {
    const result = await value
    return { result: result === undefined ? {} : result }
  } catch (error) { // a promise that was rejected is an action that says what is wrong
    return { result: { error: error === undefined || error === null ? {} : shown(error) } }
  }
}

function shown (error) {
  return error instanceof Error ? { name: error.name, message: error.message } : error
}

let turn = Promise.resolve()
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  turn = turn.then(async () => {
    const reply = await answer(JSON.parse(line))
    out.end()
    err.end()
    let text = reply
    try { JSON.stringify(reply) } catch (error) { text = { error: `An error has occurred: ${error}` } }
    tell(text)
  })
}).on('close', () => keep.exit(0))
