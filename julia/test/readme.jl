# Runs the Julia blocks of README.md, one after the other, in one module.

module Readme
const PAGE = read(joinpath(@__DIR__, "..", "README.md"), String)
const BLOCKS = [m.captures[1] for m in eachmatch(r"```julia\n(.*?)```"s, PAGE)]
for block in BLOCKS
    include_string(Readme, block, "README.md")
end
end

length(Readme.BLOCKS) >= 4 || error("README.md has lost its blocks")
all(isfinite, Readme.proposed) || error("a score of README.md is not finite")
size(Readme.z) == (4, 100) || error("the sample of README.md has the size $(size(Readme.z))")
println(length(Readme.BLOCKS), " blocks of README.md ran")
