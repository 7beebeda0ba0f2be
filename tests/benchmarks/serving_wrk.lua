-- For wrk: posts the images of the file that its first argument names, one after another, and prints the outcome as
-- one line of JSON.
local IMAGE_BYTES = 784
local requests, turn = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local bytes = file:read("*a")
  file:close()
  for first = 1, #bytes, IMAGE_BYTES do
    local image = bytes:sub(first, first + IMAGE_BYTES - 1)
    table.insert(requests, wrk.format("POST", nil, { ["Content-Type"] = "application/octet-stream" }, image))
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"count": %d, "errors": %d, "seconds": %.6f, "p50_ms": %.4f, "p90_ms": %.4f, "p99_ms": %.4f, "p99.9_ms": %.4f}\n',
    summary.requests, failed, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
