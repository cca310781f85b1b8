-- wrk posts the file that is named after `--`, and reports as one line of JSON (times in microseconds).
function init(args)
   local file = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   wrk.headers["Content-Type"] = "application/json"
   file:close()
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      '{"requests":%d,"microseconds":%d,"errors":%d,"p50":%.1f,"p99":%.1f}\n',
      summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
